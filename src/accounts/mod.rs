//! Who may do what on a nats-server of one's own: accounts, users and permissions, and the configuration that says so.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | which accounts and users there are, and what each may do: pure |
//! | [`callout`] | what the plan has for API keys as credentials of the bus |
//! | [`conf`] | a plan as the configuration of nats-server |
//! | [`files`] | keys and configuration in a directory |
//!
//! Why accounts, and not only users with permissions: a stream's acknowledgement goes to whatever subject its requester names as
//! *reply*, and the server does not ask whether the requester might publish there. In one account, an application that may publish
//! nothing but its own telemetry could so write into another's commands, into a chain head, or into the settings. Therefore the log
//! lives in an account of Homeostat's own, everybody else has one, too, and reaches the log by *service imports*, which name exactly
//! the subjects that may be used; an answer then ends in the account of whoever asked.
//!
//! Promises, each shown by a test against the real server (`tests/isolation.rs`):
//! - A-1 what an application publishes is stored on a subject of its own service, or nowhere.
//! - A-2 an application hears commands and admissions of its own service, and nothing else that is meant for anybody.
//! - A-3 nobody but Homeostat reaches the JetStream API; a bot reaches the next message and the acknowledgements of its own consumer.
//! - A-4 tenants share a server and nothing on it.
//! - A-5 no secret is written into the configuration, to standard output, or into a file that others may read.

pub mod callout;
pub mod conf;
pub mod files;
pub mod plan;

pub use files::{RenderError, Rendered, render};
pub use plan::{Account, Permissions, Plan, PlanError, Profile, Request, Role, Tenant, User};
