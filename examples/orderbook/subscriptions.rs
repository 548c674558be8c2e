//! Tells which producers a consumer receives from, as subscriptions are made.

use std::collections::HashSet;

use mosaik::{
    Datum, PeerId,
    streams::{Consumer, status::ChannelConditions},
};

use crate::report::{Report, Reporter};

/// The subscriptions of one consumer that were told already.
pub(crate) struct Subscriptions {
    stream: &'static str,
    told: HashSet<PeerId>,
    more: ChannelConditions,
}

impl Subscriptions {
    pub(crate) fn new<D: Datum>(stream: &'static str, consumer: &Consumer<D>) -> Self {
        Self {
            stream,
            told: HashSet::new(),
            more: consumer.when().subscribed(),
        }
    }

    /// Resolves when there is one more subscription than were told.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn changed(&mut self) {
        (&mut self.more).await;
    }

    pub(crate) fn tell<D: Datum>(
        &mut self,
        consumer: &Consumer<D>,
        reporter: Reporter,
    ) -> std::io::Result<()> {
        for channel in consumer
            .producers()
            .filter(mosaik::streams::status::ChannelInfo::is_connected)
        {
            let producer = *channel.producer_id();
            if self.told.insert(producer) {
                reporter.tell(Report::Subscribed {
                    stream: self.stream.into(),
                    producer,
                })?;
            }
        }
        self.more = consumer.when().subscribed().minimum_of(self.told.len() + 1);
        Ok(())
    }
}
