//! Each hot path once under valgrind, which counts its instructions.

#![allow(missing_docs, reason = "made by macros")]

use gungraun::{library_benchmark, library_benchmark_group, main};
use mcpbus_instructions::{bus, channel, stage, topology, wire};

#[library_benchmark]
fn channel_one_by_one() -> u64 {
    channel::one_by_one()
}

#[library_benchmark]
fn channel_batches() -> u64 {
    channel::batches()
}

#[library_benchmark]
fn stage_none() -> u64 {
    stage::none()
}

#[library_benchmark]
fn stage_processor() -> u64 {
    stage::processor()
}

#[library_benchmark]
fn stage_router() -> u64 {
    stage::router()
}

#[library_benchmark]
fn topology_turns() -> u64 {
    topology::turns()
}

#[library_benchmark]
fn topology_fused() -> u64 {
    topology::fused()
}

#[library_benchmark]
fn wire_encode() -> u64 {
    wire::encode()
}

#[library_benchmark]
fn wire_decode() -> u64 {
    wire::decode()
}

#[library_benchmark]
fn bus_one_subject() -> u64 {
    bus::one_subject()
}

#[library_benchmark]
fn bus_many_subjects() -> u64 {
    bus::many_subjects()
}

#[library_benchmark]
fn bus_group() -> u64 {
    bus::group()
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [
        channel_one_by_one,
        channel_batches,
        stage_none,
        stage_processor,
        stage_router,
        topology_turns,
        topology_fused,
        wire_encode,
        wire_decode,
        bus_one_subject,
        bus_many_subjects,
        bus_group
    ]
);

main!(library_benchmark_groups = hot_paths);
