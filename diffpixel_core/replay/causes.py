# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What each cause of a loss means in a replay, and what helps."""

# Cause -> (what it means, what helps). Those below the line exist in live replay only.
CAUSES = {
    'unpaired': ('No image of the other stream within sync_slop.',
                 'Raise --sync-slop, or synchronise the camera (RealSense: enable_sync:=true).'),
    'no_depth': ('Colour that came while depth was silent.',
                 'See why depth is silent; --missing-depth rgb_only segments colour alone.'),
    'overflow': ('The other stream was silent and the queue was full.',
                 'See why the other topic is silent.'),
    'reset': ('Waiting when time jumped back, as at the end of a looped bag.', 'Nothing to do.'),
    'duplicate': ('A second image with the same stamp.', 'Look at the camera driver.'),
    'skipped': ('Left out because of --stride.', 'Nothing to do.'),
    'bad_encoding': ('An encoding that is not known.', 'The notes above name it.'),
    'bad_size': ('Width, height and step contradict each other.', 'The notes above name them.'),
    'bad_data': ('The message is shorter than its size says.', 'Record the bag again.'),
    'size_mismatch': ('Depth of another size than colour.',
                      'Align depth to colour in the camera driver.'),
    'decode_error': ('The images could not be decoded.', 'The notes above say why.'),

    'superseded': ('A newer pair arrived while this one waited for the network.',
                   'A faster engine, a smaller model, or a lower --rate.'),
    'transport_lost': ('Published, but the node never saw it.',
                       'Start with the shared-memory profile config/fastdds.xml; leave the node a '
                       'core of its own.'),
    'bad_camera_info': ('A camera_info that cannot be true.', 'The log names it.'),
    'callback_error': ('A bug in the node.', 'Report it with its log.'),
    'rate_limited': ('More than publish_rate_max.', 'Raise publish_rate_max; 0 switches it off.'),
    'unaligned': ('The two camera_infos say that depth does not lie on colour.',
                  'Align depth to colour in the camera driver.'),
    'stale': ('Older than max_age when its turn came.', 'Raise max_age; 0 switches it off.'),
    'inference_error': ('The network failed.', 'The node\'s log says why.'),
    'publish_error': ('The labels could not be published.', 'The node\'s log says why.'),
    'discarded': ('Waiting when the node was told to stop.', 'Nothing to do.'),
    'unfinished': ('Still in the node when the replay gave up waiting.',
                   'A faster engine or a smaller model.'),
    'output_lost': ('The node published it, but it never came back.',
                    'Use the shared-memory profile config/fastdds.xml.'),
    'unexplained': ('No counter accounts for it.', 'This is a bug: report it with the log.'),
}
UNKNOWN = ('Counted by the node.', 'See its log.')
