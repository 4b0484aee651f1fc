//! What is stored outlives the processes, the links between them, and a full disk.
//!
//! | file | subject |
//! | --- | --- |
//! | `chain` | two nodes with a spool each, that are killed and come back at their address |
//! | `publisher` | lines through any number of lives of `mcpbus pub` |
//! | `subscriber` | a file that any number of lives of `mcpbus sub --durable` append to |
//! | `ledger` | what was printed against what was acknowledged, and chance by a seed |
//! | `killed` | processes killed in random order under traffic |
//! | `cuts` | the link between the nodes cut, again and again |
//! | `full_disk` | a disk that is smaller than the spool |
//! | `away` | a subscriber, a node and everything that is away for a while |
//! | `names` | durable names: taken over, refused, deleted; receipts |

mod away;
mod chain;
mod cuts;
mod full_disk;
mod killed;
mod ledger;
mod names;
mod publisher;
mod subscriber;
