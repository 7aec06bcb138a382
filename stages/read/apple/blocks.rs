//! Text in large blocks that are cut before a tag, read ahead on another thread. Unaware of what the text says.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use anyhow::Result;
use memchr::memrchr;

/// Bytes of a block: large enough to be shared among threads, small enough to stay in a processor's cache.
pub const BLOCK_BYTES: usize = 2 << 20;
/// Blocks that wait at most.
const WAITING: usize = 2;

/// Some text; it ends before a tag or with the file.
pub struct Block {
    buffer: Vec<u8>,
    length: usize,
    /// Where in the text it begins.
    pub at: u64,
    /// Why the text ends here, where it does so before its proper end.
    pub damage: Option<String>,
}

impl Block {
    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Where in the text it ends.
    pub fn end(&self) -> u64 {
        self.at + self.length as u64
    }
}

/// Where blocks go once they are read, and where their buffers come back from.
pub struct Feeder {
    blocks: SyncSender<Result<Block>>,
    spare: Receiver<Vec<u8>>,
}

/// The blocks of a text, in order. Dropping it ends the reading.
pub struct Blocks {
    blocks: Receiver<Result<Block>>,
    spare: Sender<Vec<u8>>,
}

/// Both ends of a queue of blocks.
pub fn queue() -> (Feeder, Blocks) {
    let (block_sender, blocks) = sync_channel(WAITING);
    let (spare, spare_receiver) = channel();
    (Feeder { blocks: block_sender, spare: spare_receiver }, Blocks { blocks, spare })
}

impl Blocks {
    /// Takes a block that is no longer needed, so that its memory is used again.
    pub fn give_back(&self, block: Block) {
        // Nobody takes it once everything is read.
        let _ = self.spare.send(block.buffer);
    }
}

impl Iterator for Blocks {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        self.blocks.recv().ok()
    }
}

impl Feeder {
    /// Reads a text to its end, or until nobody wants more. Faults of the data end it with a note; a fault of the
    /// disk is an error.
    pub fn feed(&self, input: &mut dyn Read) -> Result<()> {
        let mut at = 0;
        let mut carried: Vec<u8> = Vec::new();
        loop {
            let mut buffer = self.spare.try_recv().unwrap_or_default();
            buffer.resize(BLOCK_BYTES.max(2 * carried.len()), 0);
            buffer[..carried.len()].copy_from_slice(&carried);
            let (filled, end) = fill(input, &mut buffer, carried.len())?;
            let length = match end {
                End::Not => memrchr(b'<', &buffer[..filled]).filter(|cut| *cut > 0).unwrap_or(filled),
                _ => filled,
            };
            carried.clear();
            carried.extend_from_slice(&buffer[length..filled]);
            let damage = if let End::Damaged(damage) = &end { Some(damage.clone()) } else { None };
            let gone = self.blocks.send(Ok(Block { buffer, length, at, damage })).is_err();
            at += length as u64;
            if gone || end != End::Not {
                return Ok(());
            }
        }
    }

    /// Passes on why reading failed.
    pub fn fail(&self, error: anyhow::Error) {
        // Nobody hears it once the reader has stopped.
        let _ = self.blocks.send(Err(error));
    }
}

/// Whether a text ended.
#[derive(PartialEq)]
enum End {
    Not,
    Proper,
    Damaged(String),
}

/// Fills a buffer and says to where, and whether the text ended there.
fn fill(input: &mut dyn Read, buffer: &mut [u8], mut filled: usize) -> Result<(usize, End)> {
    let damaged = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData, ErrorKind::InvalidInput];
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => return Ok((filled, End::Proper)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) if damaged.contains(&error.kind()) => return Ok((filled, End::Damaged(error.to_string()))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((filled, End::Not))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, Block, queue};

    fn blocks(text: &[u8]) -> Vec<Block> {
        std::thread::scope(|scope| {
            let (feeder, blocks) = queue();
            scope.spawn(move || feeder.feed(&mut &text[..]).unwrap());
            blocks.map(Result::unwrap).collect()
        })
    }

    #[test]
    fn blocks_are_cut_before_tags_and_lose_nothing() {
        let text: Vec<u8> = (0..300_000).flat_map(|tag| format!("<Record n=\"{tag}\"/>\n").into_bytes()).collect();
        let blocks = blocks(&text);
        assert!(blocks.len() > 2 && blocks.iter().all(|block| block.text().starts_with(b"<")));
        assert!(blocks.windows(2).all(|two| two[0].end() == two[1].at));
        assert!(blocks.iter().flat_map(Block::text).eq(&text));
    }

    #[test]
    fn a_text_without_tags_is_passed_on_as_it_comes() {
        let text = vec![b'x'; 2 * BLOCK_BYTES + 5];
        assert_eq!(blocks(&text).iter().map(|block| block.text().len()).sum::<usize>(), text.len());
        assert_eq!(blocks(b"").len(), 1);
        let mut late = vec![b'x'; 3 * BLOCK_BYTES];
        late[0] = b'<';
        late[BLOCK_BYTES + 1] = b'<';
        assert!(blocks(&late).iter().flat_map(Block::text).eq(&late));
    }

    #[test]
    fn reading_stops_when_nobody_takes_blocks() {
        let (feeder, blocks) = queue();
        drop(blocks);
        feeder.feed(&mut std::io::repeat(b'<')).unwrap();
    }
}
