//! A disk in memory that does what disks do at the worst moment, the same for the same seed.
//!
//! What was written and not synced is lost at a loss of power, or there, or there in parts: each sector of 512 bytes for
//! itself, in any order. A failed sync leaves parts on the disk, and later syncs do not bring the others there. It fills
//! up, fails, and its bits can be flipped.

use super::disk::Disk;
use super::random::Random;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;
/// What the file system gives to a file at a time, in bytes.
const BLOCK: u64 = 4096;

/// What goes wrong from now on. A switch stays until it is set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// Writes fail, each after a part of it was done.
    pub write: bool,
    /// Syncs fail.
    pub sync: bool,
    /// Reads fail.
    pub read: bool,
    /// Syncs return Ok and do nothing, so that a test can show that it notices.
    pub sync_lies: bool,
}

/// A disk with faults.
#[derive(Debug)]
pub struct FaultyDisk {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: DiskFaults,
    /// As it is seen, and as it is on the disk.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What is between them, in order.
    pending: Vec<Pending>,
    /// The blocks of the file that have a place on the disk.
    blocks: BTreeSet<u64>,
    reserved: u64,
    capacity: u64,
    /// Steps until the power goes.
    steps: Option<u64>,
    on: bool,
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("{what} (planted fault)"))
}

fn no_room() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl FaultyDisk {
    /// An empty disk without limits.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                random: Random::new(seed),
                faults: DiskFaults::default(),
                seen: Vec::new(),
                durable: Vec::new(),
                pending: Vec::new(),
                blocks: BTreeSet::new(),
                reserved: 0,
                capacity: u64::MAX,
                steps: None,
                on: true,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// The power goes within the change that follows after as many, and nothing works until [`Self::restart`].
    pub fn cut_power_after(&self, changes: u64) {
        self.state().steps = Some(changes);
    }

    /// The power goes, if it has not, and comes back. Whoever used the disk before must have stopped.
    pub fn restart(&self) {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        state.keep_some(pending);
        state.seen = state.durable.clone();
        state.steps = None;
        state.on = true;
        let end = state.seen.len() as u64;
        state.blocks.retain(|block| block * BLOCK < end);
    }

    /// Others use up all the room of the disk, beyond what is reserved.
    pub fn fill(&self) {
        let mut state = self.state();
        state.capacity = state.used();
    }

    /// There is room again.
    pub fn clear(&self) {
        self.state().capacity = u64::MAX;
    }

    /// Where these bytes stand in the file.
    pub fn find(&self, bytes: &[u8]) -> Vec<u64> {
        let state = self.state();
        let places = state.seen.windows(bytes.len().max(1)).enumerate();
        let found = places.filter(|(_, window)| *window == bytes);
        found.map(|(place, _)| place as u64).collect()
    }

    /// Flips a bit of the byte at an offset, on the disk. Whether the file is as long.
    pub fn flip(&self, offset: u64, bit: u32) -> bool {
        let state = &mut *self.state();
        let mut flipped = false;
        for image in [&mut state.seen, &mut state.durable] {
            if let Some(byte) = image.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }
}

impl State {
    fn used(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK + self.reserved
    }

    /// Counts a change. Whether the power goes within it.
    fn cut(&mut self) -> io::Result<bool> {
        if !self.on {
            return Err(broken("there is no power"));
        }
        match &mut self.steps {
            Some(0) => {
                self.on = false;
                Ok(true)
            }
            Some(steps) => {
                *steps -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Brings some of the changes to the disk.
    fn keep_some(&mut self, pending: Vec<Pending>) {
        // Disks with nothing and with all of it are frequent, and the most telling.
        let mode = self.random.below(4);
        for change in pending {
            match change {
                Pending::Length(length) => {
                    if mode == 1 || (mode > 1 && self.random.one_in(2)) {
                        self.durable.resize(length, 0);
                    }
                }
                Pending::Write(offset, bytes) => {
                    for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                        let kept = match mode {
                            0 => false,
                            1 => true,
                            2 => self.random.one_in(2),
                            // Nearly all of it.
                            _ => !self.random.one_in(20),
                        };
                        let offset = offset + index * SECTOR;
                        if kept
                            && let Some(place) = self.durable.get_mut(offset..offset + sector.len())
                        {
                            place.copy_from_slice(sector);
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let place = self.seen.get_mut(offset..offset + bytes.len());
        place
            .ok_or_else(|| broken("a write beyond the end"))?
            .copy_from_slice(bytes);
        self.pending.push(Pending::Write(offset, bytes.to_vec()));
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn length(&self) -> io::Result<u64> {
        let state = self.state();
        match state.on {
            true => Ok(state.seen.len() as u64),
            false => Err(broken("there is no power")),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if !state.on || state.faults.read {
            return Err(broken("a read failed"));
        }
        let from = offset as usize;
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let cut = state.cut()?;
        let offset = offset as usize;
        if cut || state.faults.write {
            let part = state.random.below(bytes.len() as u64 + 1) as usize;
            state.put(offset, &bytes[..part])?;
            return Err(broken("a write failed"));
        }
        let blocks = offset as u64 / BLOCK..(offset as u64 + bytes.len() as u64).div_ceil(BLOCK);
        for block in blocks {
            if !state.blocks.contains(&block) {
                if state.used().saturating_add(BLOCK) > state.capacity {
                    return Err(no_room());
                }
                state.blocks.insert(block);
            }
        }
        state.put(offset, bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.cut()? {
            return Err(broken("the length could not be set"));
        }
        state.seen.resize(length as usize, 0);
        state.pending.push(Pending::Length(length as usize));
        state.blocks.retain(|block| block * BLOCK < length);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let cut = state.cut()?;
        if state.faults.sync_lies {
            return Ok(());
        }
        let pending = std::mem::take(&mut state.pending);
        if cut || state.faults.sync {
            state.keep_some(pending);
            return Err(broken("a sync failed"));
        }
        for change in pending {
            match change {
                Pending::Length(length) => state.durable.resize(length, 0),
                Pending::Write(offset, bytes) => {
                    if let Some(place) = state.durable.get_mut(offset..offset + bytes.len()) {
                        place.copy_from_slice(&bytes);
                    }
                }
            }
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.state().blocks.len() as u64 * BLOCK)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let others = state.used() - state.reserved;
        if bytes > state.reserved && others.saturating_add(bytes) > state.capacity {
            return Err(no_room());
        }
        state.reserved = bytes;
        Ok(())
    }
}
