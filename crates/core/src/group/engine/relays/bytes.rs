//! Counts the bytes of unfinished jobs.

use super::Job;
use crate::group::engine::intake::weight;
use crate::group::job::Origin;

#[derive(Default)]
pub(super) struct Bytes {
    pub(super) all: usize,
    /// The bytes of parked events.
    pub(super) parked: usize,
}

impl Bytes {
    pub(super) fn add(&mut self, job: &Job) {
        let weight = weight(&job.row);
        self.all += weight;
        self.parked += parked(job, weight);
    }

    pub(super) fn remove<'a>(&mut self, jobs: impl IntoIterator<Item = &'a Job>) {
        for job in jobs {
            let weight = weight(&job.row);
            self.all = self.all.saturating_sub(weight);
            self.parked = self.parked.saturating_sub(parked(job, weight));
        }
    }
}

fn parked(job: &Job, weight: usize) -> usize {
    match job.origin {
        Origin::Read(_) => 0,
        Origin::Parked => weight,
    }
}
