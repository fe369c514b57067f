//! What the metrics say at one moment, by name and first label: counters and gauges only.

use prometheus::proto::MetricFamily;
use std::collections::BTreeMap;

/// Names without their prefix, and for each the value of a label's value; series that share it are added up.
#[derive(Debug, Default)]
pub struct Values(BTreeMap<String, BTreeMap<String, f64>>);

/// The label by which values are told apart; further ones (a defect's code) are added up.
const LABELS: [&str; 2] = ["source", "reason"];

impl Values {
    pub(super) fn of_families(families: &[MetricFamily]) -> Values {
        let mut values = Values::default();
        for family in families {
            let name = family.name().trim_start_matches("crmwarden_");
            let by_label = values.0.entry(name.to_owned()).or_default();
            for metric in family.get_metric() {
                let label = metric.get_label().iter().find(|label| LABELS.contains(&label.name()));
                let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
                *by_label.entry(label.map(|it| it.value().to_owned()).unwrap_or_default()).or_default() +=
                    value;
            }
        }
        values
    }

    /// The value of a metric without such a label.
    pub fn one(&self, name: &str) -> Option<f64> {
        self.of(name, "")
    }

    /// The value of a metric for a source or a reason.
    pub fn of(&self, name: &str, label: &str) -> Option<f64> {
        self.0.get(name)?.get(label).copied()
    }

    /// A metric's values by source or reason, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.get(name).into_iter().flatten().map(|(label, value)| (label.as_str(), *value))
    }
}
