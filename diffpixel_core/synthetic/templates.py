# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in a bedroom, living room, kitchen, bathroom, office or corridor, drawn at random."""

from collections.abc import Callable

import numpy as np

from diffpixel_core.synthetic import (
    beds,
    belongings,
    clutter,
    fixtures,
    hangings,
    lamps,
    placing,
    props,
    seating,
    storage,
    structures,
    tables,
)
from diffpixel_core.synthetic.floorplan import Floorplan, beside
from diffpixel_core.synthetic.pieces import Piece

Rng = np.random.Generator

Maker = Callable[[Rng], Piece]

CHAIRS: tuple[Maker, ...] = (seating.dining_chair, seating.dining_chair, seating.office_chair)


def bedroom(plan: Floorplan) -> None:
    """A bed with night stands, storage, perhaps a desk or an armchair."""
    rng = plan.rng
    bed = beds.bed(rng)
    if placing.chance(plan, 0.5):
        clutter.scatter(
            bed,
            rng,
            (
                belongings.clothes_pile,
                props.book,
                belongings.bag,
                props.laptop,
                belongings.folded_clothes,
            ),
            int(rng.integers(1, 4)),
        )
    place = plan.against_wall(bed, corner=0.3, tries=30)
    if place is not None:
        reach = float(bed.bounds[1, 0])
        for s in (-1, 1):
            if placing.chance(plan, 0.75):
                stand = storage.night_stand(rng)
                clutter.scatter(stand, rng, (props.book, props.cup, props.gadget, props.bottle), 2)
                plan.stand(
                    stand,
                    *beside(
                        place,
                        s * (reach + float(stand.bounds[1, 0]) + rng.uniform(0.03, 0.15)),
                        0.03,
                    ),
                    place.yaw,
                )
        if placing.chance(plan, 0.4):
            placing.add_mat(
                plan,
                beside(place, rng.choice([-1, 1]) * (reach + 0.4), 1.3),
                place.yaw,
                big=bool(rng.random() < 0.5),
            )
    if placing.chance(plan, 0.12):
        placing.along_walls(plan, beds.bed)
    if placing.chance(plan, 0.75):
        placing.along_walls(plan, storage.wardrobe, (props.carton, belongings.bag), 2)
    if placing.chance(plan, 0.7):
        placing.along_walls(
            plan, storage.dresser, (*clutter.SHELF_THINGS, lamps.table_lamp, props.monitor)
        )
    if placing.chance(plan, 0.55):
        placing.desk_with_chair(plan)
    if placing.chance(plan, 0.5):
        placing.along_walls(plan, storage.bookshelf, clutter.SHELF_THINGS, 4)
    if placing.chance(plan, 0.3):
        placing.along_walls(
            plan,
            seating.armchair,
            (belongings.clothes_pile, belongings.folded_clothes, belongings.bag),
            1,
        )
    if placing.chance(plan, 0.25):
        placing.along_walls(plan, CHAIRS[int(rng.integers(3))])
    if placing.chance(plan, 0.2):
        placing.along_walls(plan, storage.television_stand)
    if placing.chance(plan, 0.2):
        placing.along_walls(plan, lamps.floor_lamp)
    if placing.chance(plan, 0.15):
        placing.along_walls(plan, storage.coat_rack)
    if placing.chance(plan, 0.3):
        placing.hang(plan, hangings.mirror, 1.3, 1.6)
    if placing.chance(plan, 0.35):
        placing.hang(plan, hangings.wall_shelf, 1.2, 1.5)
    if placing.chance(plan, 0.2):
        placing.hang(plan, hangings.coat_hooks, 1.6, 1.75)
    placing.wall_things(plan, pictures=6)
    placing.add_people(plan, 0.1)
    placing.litter(plan, 9)


def living_room(plan: Floorplan) -> None:
    """Sofas, armchairs, a television, a dining corner, shelves."""
    rng = plan.rng
    placing.sofa_group(plan)
    if placing.chance(plan, 0.3):
        placing.sofa_group(plan)
    if placing.chance(plan, 0.7):
        placing.along_walls(plan, storage.television_stand, clutter.SHELF_THINGS, 3)
    else:
        placing.hang(plan, hangings.wall_screen, 1.2, 1.5)
    if placing.chance(plan, 0.55):
        placing.table_with_chairs(plan)
    for _ in range(int(rng.integers(0, 3))):
        armchair = seating.armchair(rng)
        if placing.chance(plan, 0.5):
            plan.somewhere(armchair, tries=8)
        else:
            plan.against_wall(armchair)
    if placing.chance(plan, 0.75):
        placing.along_walls(plan, storage.bookshelf, clutter.SHELF_THINGS, 4)
    if placing.chance(plan, 0.6):
        placing.along_walls(plan, storage.cabinet, (*clutter.SHELF_THINGS, lamps.table_lamp))
    if placing.chance(plan, 0.15):
        placing.along_walls(plan, structures.fireplace, clutter.SHELF_THINGS, 4)
    if placing.chance(plan, 0.25):
        placing.desk_with_chair(plan)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, lamps.floor_lamp)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, props.floor_plant)
    if placing.chance(plan, 0.15):
        placing.along_walls(plan, seating.bench, (belongings.bag, belongings.folded_clothes), 2)
    if placing.chance(plan, 0.15):
        placing.hang(plan, hangings.mirror, 1.4, 1.6)
    if placing.chance(plan, 0.35):
        placing.hang(plan, hangings.wall_shelf, 1.2, 1.6)
    if placing.chance(plan, 0.07):
        placing.along_walls(plan, structures.stairs)
    placing.wall_things(plan, pictures=8)
    placing.add_people(plan, 0.15)
    placing.litter(plan, 8)


def kitchen(plan: Floorplan) -> None:
    """Runs of base and wall cabinets with sink and cooker, a refrigerator, a table."""
    rng = plan.rng
    first = int(rng.integers(4))
    for k in range(int(rng.integers(1, 4))):
        wall = (first + k) % 4
        longest = plan.wall_length(wall)
        for width in (rng.uniform(0.5, 0.85) * longest, rng.uniform(1.0, 1.8), 0.9):
            state = int(rng.integers(1 << 30))
            run = fixtures.kitchen_run(
                np.random.default_rng(state),
                min(float(width), 3.6),
                sink=k == 0,
                upper=bool(rng.random() < 0.75),
            )
            clutter.scatter(run, rng, clutter.KITCHEN_THINGS, int(rng.integers(2, 11)))
            if plan.against_wall(run, wall=wall, corner=0.5, tries=6) is not None:
                break
    if placing.chance(plan, 0.9):
        placing.along_walls(
            plan, fixtures.refrigerator, (props.carton, props.small_plant, props.gadget), 2
        )
    if placing.chance(plan, 0.25):
        placing.along_walls(plan, fixtures.washing_machine, clutter.KITCHEN_THINGS, 3)
    if placing.chance(plan, 0.2):
        island = fixtures.kitchen_island(rng)
        clutter.scatter(island, rng, clutter.KITCHEN_THINGS, 4)
        place = plan.somewhere(island, straight=True)
        if place is not None and placing.chance(plan, 0.7):
            for x in (-0.35, 0.3):
                placing.seat_at(plan, place, seating.stool(rng), x, -0.4, 0.0)
    if placing.chance(plan, 0.75):
        placing.table_with_chairs(plan)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, storage.cabinet, clutter.KITCHEN_THINGS, 4)
    if placing.chance(plan, 0.3):
        placing.along_walls(plan, storage.rack)
    if placing.chance(plan, 0.12):
        placing.along_walls(plan, storage.bookshelf, clutter.SHELF_THINGS, 3)
    if placing.chance(plan, 0.5):
        placing.hang(plan, hangings.wall_shelf, 1.3, 1.6)
    if placing.chance(plan, 0.45):
        placing.hang(plan, hangings.towel_rail, 1.0, 1.3)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, props.bin_for_waste)
    if placing.chance(plan, 0.4):
        placing.random_mat(plan, big=False)
    placing.wall_things(plan, pictures=2)
    placing.add_people(plan, 0.12)
    placing.litter(plan, 3)


def bathroom(plan: Floorplan) -> None:
    """A toilet, wash basin with mirror, tub or shower, towels."""
    rng = plan.rng
    if placing.chance(plan, 0.75):
        long = float(rng.uniform(1.45, 1.8))
        plan.against_wall(fixtures.bathtub(rng, long), corner=1.0, tries=20)
    if placing.chance(plan, 0.4):
        plan.against_wall(fixtures.shower_corner(rng), corner=1.0)
    stand = fixtures.washstand(rng)
    clutter.scatter(stand, rng, clutter.BATH_THINGS, 3)
    place = plan.against_wall(stand, tries=20)
    if place is not None and placing.chance(plan, 0.85):
        glass = hangings.mirror(rng)
        spot = beside(place, 0.0, 0.0)
        hung = plan.box_of(glass.bounds, *spot, 1.5, place.yaw)
        if plan.fits(hung):
            plan.insert(glass, *spot, 1.5, place.yaw)
            plan.claim(hung, stands=False)
    placing.along_walls(plan, fixtures.toilet)
    for _ in range(int(rng.integers(1, 4))):
        placing.hang(plan, hangings.towel_rail, 1.0, 1.5)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, storage.cabinet, clutter.BATH_THINGS, 5)
    if placing.chance(plan, 0.3):
        placing.along_walls(plan, fixtures.washing_machine, clutter.BATH_THINGS, 4)
    if placing.chance(plan, 0.3):
        placing.along_walls(plan, storage.rack)
    if placing.chance(plan, 0.3):
        placing.hang(plan, hangings.wall_shelf, 1.2, 1.6)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, belongings.basket)
    if placing.chance(plan, 0.4):
        placing.along_walls(plan, props.bin_for_waste)
    if placing.chance(plan, 0.25):
        placing.along_walls(plan, seating.stool)
    if placing.chance(plan, 0.75):
        placing.random_mat(plan, big=False)
    placing.wall_things(plan, pictures=1)
    placing.add_people(plan, 0.05)
    placing.litter(
        plan, 2, (belongings.clothes_pile, belongings.basket, belongings.bag, belongings.shoes)
    )


def office(plan: Floorplan) -> None:
    """Desks with computers and chairs, whiteboards, shelves, a meeting table."""
    rng = plan.rng
    for _ in range(int(rng.integers(1, 5))):
        placing.desk_with_chair(plan)
    if placing.chance(plan, 0.45):
        placing.table_with_chairs(plan)
    for _ in range(int(rng.integers(0, 3))):
        placing.along_walls(plan, storage.bookshelf, clutter.SHELF_THINGS, 4)
    for _ in range(int(rng.integers(0, 3))):
        placing.along_walls(
            plan, storage.cabinet, (*clutter.SHELF_THINGS, props.paper, props.paper), 5
        )
    if placing.chance(plan, 0.65):
        placing.hang(plan, hangings.whiteboard, 1.3, 1.6, int(rng.integers(1, 3)))
    if placing.chance(plan, 0.3):
        placing.along_walls(plan, storage.rack)
    if placing.chance(plan, 0.15):
        placing.along_walls(plan, seating.sofa)
    if placing.chance(plan, 0.3):
        plan.somewhere(seating.office_chair(rng))
    if placing.chance(plan, 0.2):
        placing.along_walls(plan, storage.coat_rack)
    if placing.chance(plan, 0.3):
        placing.along_walls(plan, props.floor_plant)
    if placing.chance(plan, 0.4):
        placing.hang(plan, hangings.wall_shelf, 1.2, 1.6)
    if placing.chance(plan, 0.2):
        placing.hang(plan, hangings.wall_screen, 1.3, 1.6)
    if placing.chance(plan, 0.5):
        placing.along_walls(plan, props.bin_for_waste)
    placing.wall_things(plan, pictures=5)
    placing.add_people(plan, 0.25)
    placing.litter(plan, 9)


def corridor(plan: Floorplan) -> None:
    """A passage with doors, benches, cabinets, notices and things left there."""
    rng = plan.rng
    for maker, probability in (
        (seating.bench, 0.35),
        (storage.sideboard, 0.4),
        (storage.bookshelf, 0.3),
        (storage.coat_rack, 0.2),
        (storage.rack, 0.2),
        (seating.dining_chair, 0.4),
        (seating.dining_chair, 0.3),
        (props.floor_plant, 0.3),
        (structures.radiator, 0.4),
        (storage.wardrobe, 0.25),
        (structures.stairs, 0.12),
        (tables.side_table, 0.25),
    ):
        if placing.chance(plan, probability):
            placing.along_walls(
                plan, maker, clutter.SHELF_THINGS if maker is not seating.dining_chair else (), 3
            )
    if placing.chance(plan, 0.4):
        placing.hang(plan, hangings.coat_hooks, 1.6, 1.75)
    if placing.chance(plan, 0.25):
        placing.hang(plan, hangings.mirror, 1.4, 1.6)
    if placing.chance(plan, 0.2):
        placing.hang(plan, hangings.whiteboard, 1.4, 1.6)
    if placing.chance(plan, 0.5):
        placing.hang(plan, hangings.notices, 1.3, 1.7, 2)
    for _ in range(int(rng.integers(0, 3))):
        plan.against_wall(structures.column(rng, plan.size[2]))
    if placing.chance(plan, 0.45):
        placing.random_mat(plan, big=bool(rng.random() < 0.4))
    placing.wall_things(plan, pictures=5)
    placing.add_people(plan, 0.3)
    placing.litter(plan, 8)


# What stands against free walls until a room is as full as it is drawn to be.
FILLERS: dict[str, tuple[Maker, ...]] = {
    'bedroom': (
        storage.wardrobe,
        storage.dresser,
        storage.bookshelf,
        tables.desk,
        storage.sideboard,
        storage.rack,
        seating.armchair,
        storage.night_stand,
        seating.bench,
        hangings.wall_shelf,
    ),
    'living_room': (
        storage.bookshelf,
        storage.cabinet,
        seating.armchair,
        tables.side_table,
        seating.sofa,
        tables.table,
        storage.television_stand,
        storage.rack,
        hangings.wall_shelf,
        seating.bench,
    ),
    'kitchen': (
        storage.cabinet,
        storage.rack,
        tables.table,
        fixtures.washing_machine,
        seating.dining_chair,
        hangings.wall_shelf,
        storage.sideboard,
        fixtures.refrigerator,
        seating.stool,
    ),
    'bathroom': (
        storage.cabinet,
        storage.rack,
        belongings.basket,
        hangings.towel_rail,
        hangings.wall_shelf,
        hangings.towel_rail,
        fixtures.washing_machine,
        fixtures.toilet,
        fixtures.washstand,
    ),
    'office': (
        tables.desk,
        storage.cabinet,
        storage.bookshelf,
        storage.rack,
        hangings.whiteboard,
        tables.table,
        seating.office_chair,
        hangings.wall_shelf,
        storage.sideboard,
    ),
    'corridor': (
        seating.bench,
        storage.sideboard,
        seating.dining_chair,
        hangings.picture,
        hangings.coat_hooks,
        storage.rack,
        hangings.wall_shelf,
    ),
}

# Height at which the fillers that hang have their origin, metres.
HUNG: dict[Maker, float] = {
    hangings.wall_shelf: 1.35,
    hangings.towel_rail: 1.25,
    hangings.whiteboard: 1.5,
    hangings.picture: 1.55,
    hangings.coat_hooks: 1.65,
}

CLUTTER: dict[str, tuple[Maker, ...]] = {
    'bedroom': (*clutter.SHELF_THINGS, lamps.table_lamp, props.paper, belongings.bag),
    'living_room': (*clutter.SHELF_THINGS, *clutter.TABLE_THINGS, lamps.table_lamp),
    'kitchen': clutter.KITCHEN_THINGS,
    'bathroom': clutter.BATH_THINGS,
    'office': clutter.DESK_THINGS,
    'corridor': (*clutter.SHELF_THINGS, belongings.bag, props.paper),
}

TEMPLATES: dict[str, Callable[[Floorplan], None]] = {
    'bedroom': bedroom,
    'living_room': living_room,
    'kitchen': kitchen,
    'bathroom': bathroom,
    'office': office,
    'corridor': corridor,
}


def furnish(plan: Floorplan, kind: str) -> None:
    """Furnishes a room of a kind, then fills free walls until it is as full as was drawn."""
    rng = plan.rng
    TEMPLATES[kind](plan)
    fillers = FILLERS[kind]
    for _ in range(int(rng.integers(3, 17))):
        maker = fillers[int(rng.integers(len(fillers)))]
        if maker in HUNG:
            placing.hang(plan, maker, HUNG[maker] - 0.15, HUNG[maker] + 0.15)
        else:
            placing.along_walls(plan, maker, CLUTTER[kind], 8)
