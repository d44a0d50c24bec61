//! One gzip member (RFC 1952) from at most [`MEMBER_BYTES`], and the threads that make many at once.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

/// Input of one member: so much is compressed at a time, whatever a file's size.
pub const MEMBER_BYTES: usize = 1 << 20;
/// libdeflate's default: as small as zlib's best, at a fraction of its time.
const LEVEL: i32 = 6;
/// More threads than this find no work: linking feeds about this many.
const MAX_THREADS: usize = 16;

/// Makes members one after another.
pub(crate) struct MemberCompressor(Compressor);

impl MemberCompressor {
    pub(crate) fn new() -> Self {
        let level = CompressionLvl::new(LEVEL).expect("the level is one of libdeflate's");
        Self(Compressor::new(level))
    }

    /// Packs what is at most [`MEMBER_BYTES`] long into `packed`, whose old content goes.
    pub(crate) fn pack(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        packed.resize(self.0.gzip_compress_bound(plain.len()), 0);
        let length = self
            .0
            .gzip_compress(plain, packed)
            .map_err(|_| io::Error::other("a block does not fit its bound"))?;
        packed.truncate(length);
        // RFC 1952: the compressor's operating system is "unknown", wherever it runs.
        packed[9] = 255;
        Ok(())
    }
}

/// A block's two forms, with the buffers to be used again.
pub(crate) struct Block {
    pub(crate) plain: Vec<u8>,
    pub(crate) packed: Vec<u8>,
}

struct Job {
    block: Block,
    reply: Sender<io::Result<Block>>,
}

/// Threads that compress for any number of writers; the bytes don't depend on their number.
///
/// Cheap to clone; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Compressors(Option<Arc<Pool>>);

struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Compressors {
    /// No threads: whoever writes compresses.
    pub fn inline() -> Self {
        Self(None)
    }

    /// As many threads as the machine runs at once.
    pub fn of_machine() -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::threads(threads)
    }

    /// A number of threads, at least one and at most 16.
    pub fn threads(number: usize) -> io::Result<Self> {
        let (jobs, taken) = mpsc::channel::<Job>();
        let taken = Arc::new(Mutex::new(taken));
        let mut pool = Pool {
            jobs: Some(jobs),
            threads: Vec::new(),
        };
        for _ in 0..number.clamp(1, MAX_THREADS) {
            let taken = Arc::clone(&taken);
            let thread = std::thread::Builder::new().name("compress".to_owned());
            pool.threads.push(thread.spawn(move || work(&taken))?);
        }
        Ok(Self(Some(Arc::new(pool))))
    }

    /// Blocks that one writer may have on their way: enough that no thread waits for it.
    pub(crate) fn window(&self) -> usize {
        self.0.as_ref().map_or(0, |pool| pool.threads.len() * 2)
    }

    /// Gives a block to the threads.
    pub(crate) fn submit(&self, block: Block) -> Receiver<io::Result<Block>> {
        let (reply, result) = mpsc::channel();
        let jobs = self.0.as_ref().and_then(|pool| pool.jobs.as_ref());
        // A job that nobody takes drops its reply, which the receiver notices.
        let _ = jobs.map(|jobs| jobs.send(Job { block, reply }));
        result
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    let mut compressor = MemberCompressor::new();
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return,
        };
        let Ok(Job { mut block, reply }) = job else {
            return;
        };
        let packed = compressor.pack(&block.plain, &mut block.packed);
        // A writer that is gone wants no answer.
        let _ = reply.send(packed.map(|()| block));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // One that panicked was told by the writer that waited for it.
            let _ = thread.join();
        }
    }
}
