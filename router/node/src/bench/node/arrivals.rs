//! What has arrived: every message of every stream once, in order, or it is counted.

use std::collections::BTreeMap;

use super::body::Header;

/// Gaps that are remembered in all streams together. Beyond, a gap counts as lost at once, and what fills it later
/// as a duplicate.
const GAPS_MAX: usize = 100_000;

/// One stream: the numbers below `next` have come, except those in the gaps.
#[derive(Clone, Debug, Default)]
struct Stream {
    next: u64,
    /// The first and the last number of each gap.
    gaps: BTreeMap<u64, u64>,
}

/// What has arrived of all links.
#[derive(Clone, Debug)]
pub struct Arrivals {
    streams_of_link: u64,
    streams: Vec<Stream>,
    gaps: usize,
    /// Different messages.
    pub distinct: u64,
    /// Messages that had come before.
    pub duplicated: u64,
    /// Messages that came after a later one of their stream.
    pub reordered: u64,
    /// Messages that are none of this run, or changed on their way.
    pub unknown: u64,
}

impl Arrivals {
    /// None yet, of so many links with so many streams each.
    pub fn new(links: u32, streams_of_link: u64) -> Self {
        let streams = u64::from(links) * streams_of_link;
        Self {
            streams_of_link,
            streams: vec![Stream::default(); usize::try_from(streams).unwrap_or(0)],
            gaps: 0,
            distinct: 0,
            duplicated: 0,
            reordered: 0,
            unknown: 0,
        }
    }

    /// One has arrived; `header` is what it says of itself.
    pub fn arrived(&mut self, header: Option<Header>) {
        let Some(header) = header.filter(|header| u64::from(header.stream) < self.streams_of_link)
        else {
            self.unknown += 1;
            return;
        };
        let place = u64::from(header.link) * self.streams_of_link + u64::from(header.stream);
        let stream = usize::try_from(place)
            .ok()
            .and_then(|place| self.streams.get_mut(place));
        let Some(stream) = stream else {
            self.unknown += 1;
            return;
        };
        let number = header.number;
        if number >= stream.next {
            if number > stream.next && self.gaps < GAPS_MAX {
                stream.gaps.insert(stream.next, number - 1);
                self.gaps += 1;
            }
            stream.next = number.saturating_add(1);
            self.distinct += 1;
            return;
        }
        let gap = stream.gaps.range(..=number).next_back();
        let Some((first, last)) = gap.map(|(first, last)| (*first, *last)) else {
            self.duplicated += 1;
            return;
        };
        if number > last {
            self.duplicated += 1;
            return;
        }
        stream.gaps.remove(&first);
        self.gaps -= 1;
        if first < number {
            stream.gaps.insert(first, number - 1);
            self.gaps += 1;
        }
        if number < last {
            stream.gaps.insert(number + 1, last);
            self.gaps += 1;
        }
        self.distinct += 1;
        self.reordered += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::new(2, 3);
        for number in numbers {
            arrivals.arrived(Some(Header {
                link: 1,
                stream: 2,
                number: *number,
                due: 0,
            }));
        }
        arrivals
    }

    fn counts(numbers: &[u64]) -> (u64, u64, u64) {
        let arrivals = after(numbers);
        (arrivals.distinct, arrivals.duplicated, arrivals.reordered)
    }

    #[test]
    fn each_counts_once() {
        assert_eq!(counts(&[0, 1, 2]), (3, 0, 0));
        assert_eq!(counts(&[0, 1, 1, 0, 2]), (3, 2, 0), "doubled");
        assert_eq!(counts(&[0, 9]), (2, 0, 0), "a gap");
        assert_eq!(counts(&[3]), (1, 0, 0), "a gap at the beginning");
    }

    #[test]
    fn what_comes_late_is_found_in_its_gap() {
        assert_eq!(counts(&[0, 4, 2, 1, 3]), (5, 0, 3));
        assert_eq!(counts(&[0, 4, 2, 2]), (3, 1, 1), "late, and again");
        assert_eq!(counts(&[0, 4, 4, 0]), (2, 2, 0), "beside a gap");
        assert_eq!(after(&[0, 4, 2, 1, 3]).gaps, 0);
    }

    #[test]
    fn streams_are_counted_apart_and_strangers_beside_them() {
        let mut arrivals = after(&[0]);
        for (link, stream) in [(0, 0), (0, 2), (1, 1), (0, 3), (2, 0)] {
            arrivals.arrived(Some(Header {
                link,
                stream,
                number: 0,
                due: 0,
            }));
        }
        arrivals.arrived(None);
        assert_eq!((arrivals.distinct, arrivals.unknown), (4, 3));
    }
}
