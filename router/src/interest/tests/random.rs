use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Up(usize, usize),
    Down(usize, usize, bool),
    Notice,
    Restart(usize),
    Set(usize, u32, u32),
    Remove(usize, u32),
    Steps(Vec<usize>),
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let index = 0usize..8;
    let steps = proptest::collection::vec(any::<usize>(), 1..40);
    prop_oneof![
        4 => (index.clone(), index.clone()).prop_map(|(a, b)| Action::Up(a, b)),
        2 => (index.clone(), index.clone(), any::<bool>()).prop_map(|(a, b, both)| Action::Down(a, b, both)),
        1 => Just(Action::Notice),
        1 => index.clone().prop_map(Action::Restart),
        4 => (index.clone(), 0u32..6, 0u32..12).prop_map(|(at, id, value)| Action::Set(at, id, value)),
        2 => (index, 0u32..6).prop_map(|(at, id)| Action::Remove(at, id)),
        6 => steps.prop_map(Action::Steps),
        1 => (0u64..12).prop_map(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_mesh_at_rest_knows_exactly_what_is_wanted(
        count in 2usize..=8,
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        let mut mesh = Mesh::new(count);
        for action in actions {
            match action {
                Action::Up(a, b) => mesh.up(a % count, b % count),
                Action::Down(a, b, both) => mesh.down(a % count, b % count, both),
                Action::Notice => mesh.notice_all(),
                Action::Restart(at) => mesh.restart(at % count),
                Action::Set(at, id, value) => mesh.set(at % count, id, entry(value / 2, 1 + value % 2)),
                Action::Remove(at, id) => mesh.remove(at % count, id),
                Action::Steps(picks) => picks.into_iter().for_each(|pick| mesh.step(pick)),
                Action::Wait(seconds) => {
                    mesh.now += Duration::from_secs(seconds);
                    for index in 0..count {
                        let now = mesh.now;
                        mesh.nodes[index].handle_timeout(now);
                        mesh.settle(index);
                    }
                }
            }
        }
        mesh.finish();
        mesh.check();
    }

    #[test]
    fn a_confirmed_entry_is_known_to_every_node(
        count in 2usize..=8,
        links in proptest::collection::vec((0usize..8, 0usize..8), 1..16),
        sets in proptest::collection::vec((0usize..8, 0u32..6, 0u32..12), 1..20),
        picks in proptest::collection::vec(any::<usize>(), 1..2000),
    ) {
        let mut mesh = Mesh::new(count);
        links.iter().for_each(|(a, b)| mesh.up(a % count, b % count));
        mesh.finish();
        let mut picks = picks.into_iter();
        for (at, id, value) in sets {
            mesh.set(at % count, id, entry(value / 2, 1 + value % 2));
            for pick in picks.by_ref().take(100) {
                mesh.step(pick);
                for index in 0..count {
                    for id in &mesh.views[index].confirmed {
                        let wanted = &mesh.local[index][id];
                        for other in mesh.distances(index).into_keys().filter(|other| *other != index) {
                            let known = mesh.views[other].entries.get(&(node(index), *id));
                            prop_assert_eq!(known, Some(wanted), "entry of {} at {}", index, other);
                        }
                    }
                }
            }
        }
        mesh.finish();
        mesh.check();
    }
}
