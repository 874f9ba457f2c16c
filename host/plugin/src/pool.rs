//! Instances that are kept from batch to batch, for a plugin with `reuse`.
//!
//! An instance is taken out while a batch uses it, and put back when the batch lets go of it, if all of its
//! calls went well. A generation has a pool of its own, which ends with it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use tidemill_core::{FunctionInstance, PluginError, PluginRows};

use crate::instance::Instance;
use crate::kinds::CallWithRows;
use crate::limits::KEPT_INSTANCES_MAX;

/// Where in a query an instance is called.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    function: String,
    partition: u32,
    columns: SchemaRef,
}

impl Place {
    pub(crate) fn new(function: &str, partition: u32, columns: &SchemaRef) -> Place {
        Place { function: function.to_owned(), partition, columns: Arc::clone(columns) }
    }
}

/// What waits for its next batch; the one that waits the longest comes first. Its number is bounded.
#[derive(Default)]
pub(crate) struct Pool {
    waiting: Mutex<VecDeque<(Place, Instance)>>,
}

impl Pool {
    /// An instance that was called at this place, if one is kept.
    pub(crate) fn take(&self, place: &Place) -> Option<Instance> {
        let mut waiting = self.waiting.lock();
        let found = waiting.iter().position(|(of, _)| of == place)?;
        waiting.remove(found).map(|(_, instance)| instance)
    }

    fn put(&self, place: Place, instance: Instance) {
        let mut waiting = self.waiting.lock();
        let longest = (waiting.len() == KEPT_INSTANCES_MAX).then(|| waiting.pop_front());
        waiting.push_back((place, instance));
        // To give memory back takes a while.
        drop(waiting);
        drop(longest);
    }
}

/// An instance in the hands of one partition of one batch.
pub(crate) struct Opened {
    /// Until it is let go of.
    instance: Option<Instance>,
    call: CallWithRows,
    /// Where it is put back, as long as the generation is used.
    home: Weak<Pool>,
    place: Place,
}

impl Opened {
    /// Without a pool the instance ends with the batch.
    pub(crate) fn new(
        instance: Instance,
        call: CallWithRows,
        home: Option<&Arc<Pool>>,
        place: Place,
    ) -> Opened {
        let home = home.map(Arc::downgrade).unwrap_or_default();
        Opened { instance: Some(instance), call, home, place }
    }
}

impl FunctionInstance for Opened {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        let instance = self.instance.as_mut().expect("it is there until this is dropped");
        instance.measured(rows.num_rows(), |instance| (self.call)(instance, rows))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let instance = self.instance.take().filter(Instance::is_well);
        if let (Some(instance), Some(pool)) = (instance, self.home.upgrade()) {
            pool.put(self.place.clone(), instance);
        }
    }
}
