//! The scenarios: what each leaves to chance, and what not.

/// What a scenario leaves to chance, and what not.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// How many nodes.
    pub nodes: usize,
    /// Links between nodes: the first dials the second.
    pub links: &'static [(usize, usize)],
    /// Fewest and most messages.
    pub messages: (u64, u64),
    /// Fewest and most cuts.
    pub cuts: (u64, u64),
    /// Whether some subscribers are slow or stall for a while.
    pub slow: bool,
    /// Whether members of groups share work.
    pub groups: bool,
    /// Whether a route chooses between groups.
    pub routes: bool,
    /// Whether clients ask and answer.
    pub requests: bool,
    /// Whether some requests are given up.
    pub cancels: bool,
    /// Whether subscriptions come and go during the traffic.
    pub churn: bool,
    /// The node that dies in the middle of the traffic and comes back.
    pub crash: Option<usize>,
    /// Whether some messages have a deadline.
    pub deadlines: bool,
    /// Whether nodes have disks, subscriptions are durable and messages are to be stored.
    pub durable: bool,
    /// Whether disks fill up for a while, refuse to write, or fail to sync.
    pub disk_faults: bool,
    /// Whether spools may hold little.
    pub small_spools: bool,
    /// Whether stored messages are damaged while their node is down.
    pub corrupt: bool,
    /// Whether durable subscriptions are made late, taken over and deleted.
    pub lives: bool,
    /// Whether nodes give a peer up that is away for a moment.
    pub short_hold: bool,
    /// Fewest and most times that a consumer's process dies.
    pub restarts: (u64, u64),
    /// Whether subscribers are on the last node and publishers on the first.
    pub apart: bool,
    /// Fewest and most times that a node gets other routes.
    pub edits: (u64, u64),
}

const CALM: Shape = Shape {
    name: "",
    nodes: 2,
    links: &[(0, 1)],
    messages: (20, 120),
    cuts: (0, 0),
    slow: false,
    groups: false,
    routes: false,
    requests: false,
    cancels: false,
    churn: false,
    crash: None,
    deadlines: false,
    durable: false,
    disk_faults: false,
    small_spools: false,
    corrupt: false,
    lives: false,
    short_hold: false,
    restarts: (0, 0),
    apart: false,
    edits: (0, 0),
};

const CHAIN: &[(usize, usize)] = &[(0, 1), (2, 1)];
const LINE: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
const TRIANGLE: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 0)];
const RING: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)];

/// All scenarios.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "one_node",
        nodes: 1,
        links: &[],
        groups: true,
        slow: true,
        cuts: (0, 3),
        deadlines: true,
        ..CALM
    },
    Shape {
        name: "two_nodes",
        groups: true,
        slow: true,
        cuts: (0, 4),
        ..CALM
    },
    Shape {
        name: "chain",
        nodes: 3,
        links: CHAIN,
        groups: true,
        slow: true,
        cuts: (0, 5),
        deadlines: true,
        ..CALM
    },
    Shape {
        name: "triangle",
        nodes: 3,
        links: TRIANGLE,
        groups: true,
        slow: true,
        cuts: (0, 5),
        ..CALM
    },
    Shape {
        name: "ring",
        nodes: 5,
        links: RING,
        groups: true,
        slow: true,
        cuts: (0, 6),
        ..CALM
    },
    Shape {
        name: "routes",
        nodes: 3,
        links: CHAIN,
        routes: true,
        slow: true,
        cuts: (0, 3),
        ..CALM
    },
    Shape {
        name: "routes_edited",
        nodes: 3,
        links: CHAIN,
        routes: true,
        slow: true,
        cuts: (0, 2),
        edits: (3, 40),
        ..CALM
    },
    Shape {
        name: "requests",
        nodes: 3,
        links: TRIANGLE,
        requests: true,
        cuts: (0, 3),
        ..CALM
    },
    Shape {
        name: "requests_cancelled",
        nodes: 3,
        links: CHAIN,
        requests: true,
        cancels: true,
        slow: true,
        apart: true,
        ..CALM
    },
    Shape {
        name: "churn",
        nodes: 3,
        links: TRIANGLE,
        groups: true,
        slow: true,
        churn: true,
        cuts: (0, 2),
        ..CALM
    },
    Shape {
        name: "crash_middle",
        nodes: 3,
        links: CHAIN,
        slow: true,
        crash: Some(1),
        apart: true,
        ..CALM
    },
    Shape {
        name: "crash_any",
        nodes: 5,
        links: RING,
        groups: true,
        slow: true,
        crash: Some(0),
        cuts: (0, 3),
        ..CALM
    },
    Shape {
        name: "durable",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        cuts: (0, 3),
        restarts: (0, 2),
        ..CALM
    },
    Shape {
        name: "durable_crash",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        crash: Some(0),
        cuts: (0, 3),
        restarts: (0, 2),
        ..CALM
    },
    Shape {
        name: "durable_ring",
        nodes: 5,
        links: RING,
        slow: true,
        durable: true,
        crash: Some(0),
        cuts: (0, 3),
        restarts: (0, 1),
        ..CALM
    },
    Shape {
        name: "durable_disk",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        disk_faults: true,
        cuts: (0, 3),
        restarts: (0, 1),
        ..CALM
    },
    Shape {
        name: "durable_small",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        small_spools: true,
        cuts: (0, 3),
        restarts: (0, 1),
        ..CALM
    },
    Shape {
        name: "durable_corrupt",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        corrupt: true,
        crash: Some(0),
        cuts: (0, 3),
        restarts: (0, 0),
        ..CALM
    },
    Shape {
        name: "durable_lives",
        nodes: 3,
        links: TRIANGLE,
        slow: true,
        durable: true,
        lives: true,
        cuts: (0, 3),
        restarts: (0, 2),
        ..CALM
    },
    Shape {
        name: "durable_away",
        nodes: 3,
        links: CHAIN,
        slow: true,
        durable: true,
        disk_faults: true,
        short_hold: true,
        cuts: (2, 5),
        ..CALM
    },
    Shape {
        name: "churn_line",
        nodes: 6,
        links: LINE,
        groups: true,
        slow: true,
        churn: true,
        cuts: (0, 2),
        ..CALM
    },
    Shape {
        name: "churn_ring",
        nodes: 5,
        links: RING,
        groups: true,
        slow: true,
        churn: true,
        cuts: (0, 3),
        ..CALM
    },
];
