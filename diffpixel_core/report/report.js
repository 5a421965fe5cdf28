const tiles=[...document.querySelectorAll('article figure')],zoom=document.getElementById('zoom');
const shown=zoom.querySelector('figure');let at=0;
function show(i){at=(i+tiles.length)%tiles.length;const t=tiles[at],m=t.querySelector('img');
shown.innerHTML=t.innerHTML;shown.className=t.className;
shown.querySelector('figcaption').textContent+=
' · '+t.closest('article').querySelector('h3').textContent;
shown.style.setProperty('--aspect',m.naturalWidth/m.naturalHeight);if(!zoom.open)zoom.showModal()}
tiles.forEach((t,i)=>{t.onclick=()=>show(i);t.onkeydown=e=>{if(e.key==='Enter')show(i)}});
zoom.onclick=()=>zoom.close();
zoom.onkeydown=e=>{if(e.key==='ArrowRight')show(at+1);if(e.key==='ArrowLeft')show(at-1)};
const tip=document.createElement('div');tip.id='tip';document.body.append(tip);
const board=document.createElement('canvas').getContext('2d',{willReadFrequently:true});
let drawn='';
document.addEventListener('mousemove',e=>{const m=e.target;
if(m.tagName!=='IMG'||!m.closest('.labels')){tip.style.display='none';return}
if(drawn!==m.src){board.canvas.width=m.naturalWidth;board.canvas.height=m.naturalHeight;
board.drawImage(m,0,0);drawn=m.src}
const r=m.getBoundingClientRect(),x=(e.clientX-r.left)/r.width*m.naturalWidth,
y=(e.clientY-r.top)/r.height*m.naturalHeight,p=board.getImageData(x|0,y|0,1,1).data;
const name=NAMES['#'+[p[0],p[1],p[2]].map(v=>v.toString(16).padStart(2,'0')).join('')];
if(!name){tip.style.display='none';return}
(zoom.open?zoom:document.body).append(tip);tip.textContent=name;tip.style.display='block';
tip.style.left=Math.min(e.clientX+14,innerWidth-tip.offsetWidth-8)+'px';tip.style.top=e.clientY+14+'px'});
