//! Hot restart: a successor takes over the listening sockets of a running proxy, and no connection is lost.
//!
//! Both speak over the control socket, in frames that begin with a version byte of their own ([`message::VERSION`]), so that proxies
//! whose route tables differ still understand each other. In order:
//!
//! 1. The successor asks. The running one sends its table, its counters, and duplicates of its control socket, of the lock beside it
//!    and of every listening socket; from then on it applies no table and takes no control clients. It goes on serving.
//! 2. The successor puts the table in force. If it does not understand it, it takes control clients and waits to be told another.
//!    It begins to accept on the very same sockets, so nothing that waits in their queues is reset, and says so.
//! 3. The running one stops accepting and says that all is the successor's. It finishes what it has, and ends.
//!
//! Until the third step the running one takes everything back when the successor fails, is late or dies. A successor that finds
//! the running one dead has all it needs to go on. Afterwards the successor passes on each table, so that what is still open at the
//! predecessor goes to no backend that has left, and adds the predecessor's counters to its own, so that they go on growing.

mod descriptors;
mod giving;
mod lineage;
mod message;
mod taking;

pub(crate) use giving::{Given, Giving, Heir};
pub(crate) use message::{Answer, Estate, Outline, Question, Report, is_successor};
pub(crate) use taking::{Inheritance, Predecessor, Sockets};
