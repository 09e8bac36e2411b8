//! x
mod input;
use crate::args;
use crate::exit::{Exit, Failure};
pub async fn run(_a: args::Produce) -> Result<Exit, Failure> { Ok(Exit::Ok) }
