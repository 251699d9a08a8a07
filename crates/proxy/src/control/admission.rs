//! Admission by predicted cost, as the route table says it: what of a request is looked at, what it may cost, what an
//! instance has of it, and who goes first.

mod amount;
mod source;
mod template;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use amount::Amount;
pub use source::{Source, SourceError};
pub use template::{Template, TemplateError};

/// A route whose requests are admitted by what they will cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Which requests are alike: the first that fits names the endpoint. Requests that fit none are told apart by method.
    pub endpoints: Vec<Endpoint>,
    /// What is taken of a request as a number: at most [`SOURCES_MAX`].
    pub numbers: Vec<Source>,
    /// What is taken of a request as a name: at most [`SOURCES_MAX`].
    pub names: Vec<Source>,
    /// What is reserved, at most [`COSTS_MAX`].
    pub costs: Vec<CostSpec>,
    /// Who goes first.
    pub priority: Priority,
    /// A JSON body is read up to this many bytes before the request is placed; a longer one says nothing. Default 64 KiB.
    pub body_bytes_max: usize,
    /// Requests per second whose parameters and costs are kept for whoever reads them. Default 10; 0 keeps none.
    pub samples_per_second: u32,
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Method and path.
    pub template: Template,
    /// Index into [`Priority::classes`], whatever the request itself says.
    pub class: Option<u8>,
}

/// Something that a request takes of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostSpec {
    /// Such as `tokens`; unique within the route.
    pub name: String,
    /// How it is known afterwards.
    pub measure: Measure,
    /// How much of it one instance has.
    pub per_instance: Amount,
    /// The quantile of the predicted cost that is reserved, in thousandths. Default 900: nine of ten requests need at
    /// most what is reserved for them. Higher seldom overloads an instance and leaves more of it unused.
    pub quantile_milli: u16,
    /// It is work: what a request has taken of it is not ahead any more, and is given back while the request runs. Of costs by
    /// a field of the response, what is reserved above the number in its head. Default false: all is held to the end.
    pub is_spent: bool,
    /// What is assumed of a request before any has been measured. Default a tenth of `per_instance`.
    pub initial: Amount,
}

/// What a request has cost, once it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// Always one: the number of requests at once.
    One,
    /// Seconds from sending it to the end of its response.
    Duration,
    /// The number in this field of the response head (or its trailers).
    Header(String),
    /// Bytes of the response's content.
    ResponseBytes,
}

/// Who goes first when not all can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priority {
    /// The request field that names its class. Empty: nothing in the request counts.
    pub header: String,
    /// From the first to be served to the last, at most [`CLASSES_MAX`]. Empty: all are alike.
    pub classes: Vec<Class>,
    /// Index of the class of those that name none.
    pub default: u8,
}

/// A class of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// As in the header.
    pub name: String,
    /// How long it waits for capacity; `None`: as long as the route holds requests.
    pub deadline: Option<Duration>,
}

impl Admission {
    /// The defaults named at the fields, and nothing to reserve.
    pub fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            numbers: Vec::new(),
            names: Vec::new(),
            costs: Vec::new(),
            priority: Priority::default(),
            body_bytes_max: BODY_BYTES_DEFAULT,
            samples_per_second: 10,
        }
    }

    /// Whether something in the body is looked at.
    pub fn reads_body(&self) -> bool {
        self.numbers.iter().chain(&self.names).any(|source| matches!(source, Source::Json(_)))
    }

    /// What is wrong with it, as sentences.
    pub(super) fn problems(&self) -> Vec<AdmissionProblem> {
        let mut problems = Vec::new();
        if self.costs.is_empty() || self.costs.len() > COSTS_MAX {
            problems.push(AdmissionProblem::Costs(self.costs.len()));
        }
        for (index, cost) in self.costs.iter().enumerate() {
            if self.costs[..index].iter().any(|other| other.name == cost.name) {
                problems.push(AdmissionProblem::CostTwice(cost.name.clone()));
            }
            if cost.per_instance == Amount::ZERO {
                problems.push(AdmissionProblem::NothingToGive(cost.name.clone()));
            }
            if !(1..=999).contains(&cost.quantile_milli) {
                problems.push(AdmissionProblem::Quantile(cost.name.clone()));
            }
        }
        if self.numbers.len() > SOURCES_MAX || self.names.len() > SOURCES_MAX {
            problems.push(AdmissionProblem::Sources);
        }
        if priority_problem(&self.priority, &self.endpoints) && self.endpoints.len() <= ENDPOINTS_MAX {
            problems.push(AdmissionProblem::Classes);
        }
        if self.endpoints.len() > ENDPOINTS_MAX {
            problems.push(AdmissionProblem::Endpoints(self.endpoints.len()));
        }
        if self.body_bytes_max > BODY_BYTES_LIMIT {
            problems.push(AdmissionProblem::BodyBytes(self.body_bytes_max));
        }
        problems
    }
}

/// Whether there are too many classes or endpoints, or a class is used that is not listed.
pub(super) fn priority_problem(priority: &Priority, endpoints: &[Endpoint]) -> bool {
    let classes = priority.classes.len();
    let named = endpoints.iter().filter_map(|endpoint| endpoint.class);
    let has_unknown = named.chain([priority.default]).any(|class| usize::from(class) >= classes.max(1));
    classes > CLASSES_MAX || has_unknown || endpoints.len() > ENDPOINTS_MAX
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

/// Why requests cannot be admitted like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionProblem {
    /// None or too many.
    #[error("{0} costs; there must be 1 to {COSTS_MAX}")]
    Costs(usize),
    /// One name for two.
    #[error("cost {0} is listed twice")]
    CostTwice(String),
    /// Nothing would ever be admitted.
    #[error("cost {0}: an instance must have more than none of it")]
    NothingToGive(String),
    /// Not a quantile.
    #[error("cost {0}: the quantile must be inside 0 and 1")]
    Quantile(String),
    /// The model looks at no more.
    #[error("at most {SOURCES_MAX} numbers and {SOURCES_MAX} names of a request are looked at")]
    Sources,
    /// Too many, or one that is not listed.
    #[error("at most {CLASSES_MAX} classes, and every class that is used must be listed")]
    Classes,
    /// Too many.
    #[error("{0} endpoints, at most {ENDPOINTS_MAX}")]
    Endpoints(usize),
    /// Too much to keep for each request.
    #[error("bodies are read up to {0} bytes; at most {BODY_BYTES_LIMIT} are allowed")]
    BodyBytes(usize),
}

/// Most costs of a route.
pub const COSTS_MAX: usize = 4;
/// Most numbers, and most names, that are taken of a request.
pub const SOURCES_MAX: usize = 8;
/// Most classes of a route.
pub const CLASSES_MAX: usize = 8;
const ENDPOINTS_MAX: usize = 256;
const BODY_BYTES_DEFAULT: usize = 64 * 1024;
const BODY_BYTES_LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(name: &str) -> CostSpec {
        CostSpec {
            name: name.into(),
            measure: Measure::Duration,
            per_instance: Amount::from_f64(2.0),
            quantile_milli: 900,
            is_spent: false,
            initial: Amount::from_f64(0.2),
        }
    }

    #[test]
    fn what_is_complete_has_no_problem() {
        let admission = Admission { costs: vec![cost("seconds")], ..Admission::new() };
        assert_eq!(admission.problems(), []);
    }

    #[test]
    fn every_problem_is_named() {
        let mut nothing = cost("seconds");
        (nothing.per_instance, nothing.quantile_milli) = (Amount::ZERO, 1000);
        let admission = Admission {
            costs: vec![cost("seconds"), nothing],
            names: vec![Source::Method; SOURCES_MAX + 1],
            priority: Priority { default: 1, ..Priority::default() },
            body_bytes_max: usize::MAX,
            ..Admission::new()
        };
        assert_eq!(admission.problems().len(), 6);
    }
}
