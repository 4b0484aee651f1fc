//! What is released and not yet told to the owner, with what is alike counted together.

use super::event::{Release, Releases};
use std::collections::VecDeque;

/// Releases in the order in which they happened.
#[derive(Debug, Default)]
pub(super) struct ReleaseQueue {
    runs: VecDeque<Releases>,
}

impl ReleaseQueue {
    /// One more; a neighbour of the last one only adds to its count.
    #[inline]
    pub(super) fn push(&mut self, release: Release) {
        if let Some(last) = self.runs.back_mut()
            && last.flow == release.flow
            && last.result == release.result
            && last.next_token() == Some(release.token)
        {
            last.count += 1;
            return;
        }
        self.runs.push_back(Releases {
            flow: release.flow,
            token: release.token,
            count: 1,
            result: release.result,
        });
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Release> {
        let run = self.runs.front_mut()?;
        let release = Release {
            flow: run.flow,
            token: run.token,
            result: run.result,
        };
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        } else {
            run.token = run.token.saturating_add(1);
        }
        Some(release)
    }

    /// The next ones that are alike.
    #[inline]
    pub(super) fn pop_run(&mut self) -> Option<Releases> {
        self.runs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Failure;

    fn release(flow: u32, token: u64, result: Result<(), Failure>) -> Release {
        Release {
            flow,
            token,
            result,
        }
    }

    #[test]
    fn what_is_put_in_comes_out_one_by_one_or_in_runs() {
        let all = [
            release(1, 7, Ok(())),
            release(1, 8, Ok(())),
            release(1, 9, Err(Failure::Rejected)),
            release(1, 10, Err(Failure::Rejected)),
            release(1, 12, Ok(())),
            release(2, 13, Ok(())),
            release(2, u64::MAX, Ok(())),
            release(2, u64::MAX, Ok(())),
            release(2, 0, Ok(())),
        ];
        let mut queue = ReleaseQueue::default();
        all.into_iter().for_each(|release| queue.push(release));
        let singly: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(singly, all);

        all.into_iter().for_each(|release| queue.push(release));
        let runs: Vec<_> = std::iter::from_fn(|| queue.pop_run()).collect();
        let counts: Vec<_> = runs.iter().map(|run| run.count).collect();
        assert_eq!(counts, [2, 2, 1, 1, 2, 1]);
        let tokens: Vec<_> = runs.iter().flat_map(Releases::tokens).collect();
        assert_eq!(tokens, all.map(|release| release.token));
    }
}
