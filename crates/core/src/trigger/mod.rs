//! stub
use crate::{ChannelName, Result};
/// stub
#[derive(Clone, Debug)]
pub struct TriggerSpec(ChannelName);
impl TriggerSpec {
    /// stub
    pub fn channel_name(&self) -> &ChannelName { &self.0 }
}
/// stub
#[derive(Debug, Clone)]
pub struct Drift;
impl std::fmt::Display for Drift { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("") } }
/// stub
pub async fn verify(_: &tokio_postgres::Client, _: &[TriggerSpec]) -> Result<Vec<Drift>> { Ok(Vec::new()) }
