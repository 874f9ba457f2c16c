//! The plugin's own settings.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

thread_local! {
    static CONFIG: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The `config` table that the job gives to this plugin.
///
/// ```
/// use serde::Deserialize;
/// use tidemill_plugin::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Config {
///     #[serde(default)]
///     tax_rate: f64,
/// }
///
/// assert_eq!(config::<Config>()?.tax_rate, 0.0); // a job without the table
/// # Ok::<(), Error>(())
/// ```
pub fn config<T: DeserializeOwned>() -> Result<T> {
    CONFIG.with_borrow(|config| {
        let config = if config.is_empty() { "{}" } else { config };
        serde_json::from_str(config)
            .map_err(|error| Error::fatal(format!("the plugin's `config` in the job: {error}")))
    })
}

pub(crate) fn set(config: String) {
    CONFIG.replace(config);
}
