//! The `condition:` of a Sigma correlation: comparisons, or an expression over its rules.
//!
//! Where `temporal` and `temporal_ordered` have none, *all* rules must happen, as the specification says.

use crate::inspect::behaviour::{Expression, Kind, Operator, Test};
use rsigma_parser::ConditionExpr;
use serde_json::Value;

/// What a condition says.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) test: Test,
    pub(super) field: Vec<String>,
    pub(super) percentile: u8,
}

/// Reads it. `rules` are the correlation's rules in order.
pub(super) fn read(kind: Kind, rules: &[String], value: Option<&Value>) -> Result<Condition, String> {
    let condition = match value {
        None if kind.is_temporal() => {
            let all = Test::Compare(vec![(Operator::Gte, rules.len() as f64)]);
            Condition { test: all, field: Vec::new(), percentile: 50 }
        }
        None => return Err(format!("`{}` needs a condition", kind.as_str())),
        Some(Value::String(text)) if kind.is_temporal() => {
            let parsed =
                rsigma_parser::parse_condition(text).map_err(|_| "not a boolean expression".to_owned())?;
            Condition { test: Test::Parts(expression(&parsed, rules)?), field: Vec::new(), percentile: 50 }
        }
        Some(Value::Object(members)) => comparisons(members)?,
        Some(_) => return Err("a condition is comparisons, e.g. { gte: 10 }".to_owned()),
    };
    match (kind.needs_field(), condition.field.len()) {
        (true, 0) => Err(format!("`{}` needs `field:` in its condition", kind.as_str())),
        (false, 1..) => Err(format!("`{}` takes no `field:`", kind.as_str())),
        (true, 2..) if kind != Kind::ValueCount => Err(format!("`{}` takes one field", kind.as_str())),
        _ => Ok(condition),
    }
}

fn comparisons(members: &serde_json::Map<String, Value>) -> Result<Condition, String> {
    let mut condition = Condition { test: Test::Compare(Vec::new()), field: Vec::new(), percentile: 50 };
    let mut comparisons = Vec::new();
    for (name, value) in members {
        let operator = match name.as_str() {
            "lt" => Operator::Lt,
            "lte" => Operator::Lte,
            "gt" => Operator::Gt,
            "gte" => Operator::Gte,
            "eq" => Operator::Eq,
            "neq" => Operator::Neq,
            "field" => {
                condition.field = names(value).ok_or("`field` is a field name or a list of them")?;
                continue;
            }
            "percentile" => {
                let rank =
                    value.as_u64().and_then(|rank| u8::try_from(rank).ok()).filter(|rank| *rank <= 100);
                condition.percentile = rank.ok_or("`percentile` is a whole number from 0 to 100")?;
                continue;
            }
            other => return Err(format!("unknown key `{other}` in a condition")),
        };
        comparisons.push((operator, value.as_f64().ok_or(format!("`{name}` needs a number"))?));
    }
    if comparisons.is_empty() {
        return Err("a condition needs one of lt, lte, gt, gte, eq, neq".to_owned());
    }
    condition.test = Test::Compare(comparisons);
    Ok(condition)
}

fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn expression(parsed: &ConditionExpr, rules: &[String]) -> Result<Expression, String> {
    let all = |inner: &[ConditionExpr]| -> Result<Vec<Expression>, String> {
        inner.iter().map(|inner| expression(inner, rules)).collect()
    };
    Ok(match parsed {
        ConditionExpr::And(inner) => Expression::All(all(inner)?),
        ConditionExpr::Or(inner) => Expression::Any(all(inner)?),
        ConditionExpr::Not(inner) => Expression::Not(Box::new(expression(inner, rules)?)),
        ConditionExpr::Identifier(name) => {
            let place = rules.iter().position(|rule| rule == name);
            Expression::Part(place.ok_or(format!("`{name}` is not among this correlation's rules"))?)
        }
        ConditionExpr::Selector { .. } => return Err("`1 of …` cannot stand in a correlation".to_owned()),
    })
}
