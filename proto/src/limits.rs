//! Every bound on what a peer can make this side hold, by name. Each is checked before memory is taken.

/// Longest name of one path component, in bytes. The limit of every file system that matters (ext4, xfs, APFS, NTFS).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path, in bytes, separators included. `PATH_MAX` on Linux less its NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// Most components in a path.
pub const PATH_DEPTH_MAX: usize = 256;
/// Longest symlink target, in bytes.
pub const TARGET_BYTES_MAX: usize = 4095;
/// Largest file that is synchronised, in bytes: 1 TiB.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

/// Largest frame on the control stream, in bytes.
pub const CONTROL_FRAME_BYTES_MAX: usize = 4 << 20;
/// Largest frame on a bundle stream, in bytes. One frame is one batch.
pub const BUNDLE_FRAME_BYTES_MAX: usize = 8 << 20;
/// Largest first frame of a content stream, in bytes.
pub const STREAM_HEADER_BYTES_MAX: usize = 32 << 10;
/// Largest frame on a file stream after its first, in bytes.
pub const FILE_FRAME_BYTES_MAX: usize = 2 << 20;
/// Most operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 4096;
/// Most bytes of content that travel inside one operation, encoded or decoded.
pub const INLINE_CONTENT_BYTES_MAX: usize = 4 << 20;
/// Most batches that a controller may have unanswered.
pub const BATCHES_IN_FLIGHT_MAX: usize = 64;
/// Most paths in one tree request.
pub const TREE_REQUEST_PATHS_MAX: usize = 4096;
/// Most entries in one page of a tree listing.
pub const LISTING_ENTRIES_MAX: usize = 16_384;
/// Most entries one replica may announce in all.
pub const TREE_ENTRIES_MAX: u64 = 20_000_000;
/// Most bytes of paths and symlink targets one replica may announce in one connection: 1 GiB.
pub const TREE_BYTES_MAX: u64 = 1 << 30;
/// Most changes in one `Changes` message.
pub const CHANGES_MAX: usize = 4096;
/// Most problems in one message. The rest are counted, not named.
pub const PROBLEMS_MAX: usize = 256;
/// Most chunks in one page of a recipe.
pub const RECIPE_CHUNKS_MAX: usize = 16_384;
/// Largest chunk of a streamed file, in bytes, as cut by the content-defined chunker.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Most bytes of one block of streamed content, encoded or decoded.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Most ignore patterns in one session.
pub const IGNORE_PATTERNS_MAX: usize = 4096;
/// Longest ignore pattern, in bytes.
pub const IGNORE_PATTERN_BYTES_MAX: usize = 4096;
/// Longest sentence in an error, a refusal or a goodbye, in bytes.
pub const SENTENCE_BYTES_MAX: usize = 1024;
/// Longest program version in a hello, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;
/// Most sessions (roots) on one connection.
pub const SESSIONS_PER_CONNECTION_MAX: usize = 64;
/// Most content streams that one session may have open at once.
pub const CONTENT_STREAMS_MAX: usize = 4;
/// Most bytes of content that travel with one change, encoded or decoded. What is longer is asked for.
pub const PUSHED_CONTENT_BYTES_MAX: usize = 64 << 10;
/// Most fetches that a controller may have unanswered.
pub const FETCHES_IN_FLIGHT_MAX: usize = 16;
/// Most paths in one question what stands there.
pub const DESCRIBE_PATHS_MAX: usize = 4096;
/// Longest file, in bytes, whose content is given in a `Fetched`. A longer one is streamed.
pub const FETCHED_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most pieces in one section of a delta.
pub const SECTION_PIECES_MAX: usize = 16_384;
/// Most fresh bytes in one section of a delta.
pub const SECTION_FRESH_BYTES_MAX: usize = 8 << 20;
/// Most bytes of the base, context not counted, that the fresh bytes in one section of a delta may refer to.
pub const SECTION_NEAR_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a streamed file that one delta may say.
pub const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Most bytes of the file that is replaced that one such delta may refer to.
pub const WINDOW_BASE_BYTES_MAX: usize = 16 << 20;
