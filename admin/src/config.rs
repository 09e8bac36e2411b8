//! Settings of the admin client.

use rkafka_client_core::{ClientConfig, ClientSettings};
use rkafka_config::settings;

settings! {
    /// Settings of an [`Admin`](crate::Admin): those of every client. `default.api.timeout.ms` bounds each operation,
    /// its retries included.
    pub struct AdminConfig {
        embed client: ClientConfig as ClientSettings;
    }
}
