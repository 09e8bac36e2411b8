//! What this broker makes of the committed metadata.
//!
//! Decisions are the controller's. Whatever follows from them on this broker (partitions that go, settings that change)
//! is done in one place, [`run_applier`], image by image in the order of the log, wherever the decision was made. A
//! request that changed something is answered once this broker has acted upon it too.

mod applier;
mod producer_ids;

use std::sync::{Arc, RwLock};

use tokio::sync::watch;

pub(crate) use applier::run_applier;
pub(crate) use producer_ids::ProducerIds;

use crate::MetadataImage;
use crate::locks::{read, write};

/// The image that this broker goes by, and how far it has acted upon it.
#[derive(Debug)]
pub(crate) struct AppliedMetadata {
    image: RwLock<Arc<MetadataImage>>,
    /// The offset behind the last record whose consequences are there.
    up_to: watch::Sender<i64>,
}

impl AppliedMetadata {
    /// An image of which nothing follows that the broker has not done already.
    pub fn new(image: Arc<MetadataImage>) -> Self {
        let up_to = watch::Sender::new(image.next_offset());
        Self { image: RwLock::new(image), up_to }
    }

    /// The image that requests are answered by.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&read(&self.image))
    }

    /// Lets requests see an image; answers the one before.
    fn publish(&self, image: Arc<MetadataImage>) -> Arc<MetadataImage> {
        std::mem::replace(&mut *write(&self.image), image)
    }

    /// Tells whoever waits that the broker has acted upon all below `up_to`.
    fn done(&self, up_to: i64) {
        self.up_to.send_replace(up_to);
    }

    /// How far the broker has acted upon the metadata: the offset behind the last record.
    pub fn up_to(&self) -> i64 {
        *self.up_to.borrow()
    }

    /// Goes by this image from now on, of which nothing follows that the broker has not done already.
    pub fn begin(&self, image: Arc<MetadataImage>) {
        let up_to = image.next_offset();
        self.publish(image);
        self.done(up_to);
    }

    /// Waits until the image that requests are answered by is as wanted. Cancel safe.
    pub async fn until(&self, is_wanted: impl Fn(&MetadataImage) -> bool) {
        let mut applied = self.up_to.subscribe();
        let _ = applied.wait_for(|_| is_wanted(&self.image())).await;
    }

    /// Waits until the broker has acted upon all below `up_to`. Cancel safe. Does not end where the broker stops before.
    pub async fn applied(&self, up_to: i64) {
        let mut applied = self.up_to.subscribe();
        // An error would mean that the sender is gone, which is in `self`.
        let _ = applied.wait_for(|applied| *applied >= up_to).await;
    }
}
