//! What is known beside the series itself, for past steps and, where announced, for future ones: weather, campaigns,
//! holidays, prices. One number for each step and name.

use std::sync::Arc;

/// Named columns of numbers over the same steps. A copy shares them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Covariates {
    table: Arc<Table>,
    /// From which step on, as the asker counts, rows are how many steps earlier than it says; oldest first.
    shifts: Arc<[(u64, i64)]>,
    /// How many steps further than the rows all counting is.
    lead: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    names: Vec<String>,
    /// Step of the first row.
    first: u64,
    columns: Vec<Vec<f32>>,
}

/// A column that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CovariateError {
    /// Two columns of the same name.
    #[error("there are two covariates named `{0}`")]
    Duplicate(String),
    /// All columns cover the same steps.
    #[error("covariate `{name}` has {found} rows; the others have {expected}")]
    Length {
        /// The column.
        name: String,
        /// Its rows.
        found: usize,
        /// Rows of the columns before it.
        expected: usize,
    },
}

impl Covariates {
    /// No columns, for a series whose rows would begin with step `first`.
    pub fn beginning(first: u64) -> Covariates {
        Covariates {
            table: Arc::new(Table { names: Vec::new(), first, columns: Vec::new() }),
            shifts: Arc::default(),
            lead: 0,
        }
    }

    /// Adds a column; row `i` belongs to step `first + i`. NaN is "not known".
    ///
    /// # Errors
    /// [`CovariateError`] when the name is taken or the length is another than that of the columns before.
    pub fn add(&mut self, name: &str, values: Vec<f32>) -> Result<(), CovariateError> {
        let table = Arc::make_mut(&mut self.table);
        if table.names.iter().any(|known| known == name) {
            return Err(CovariateError::Duplicate(name.to_owned()));
        }
        if let Some(first) = table.columns.first().filter(|first| first.len() != values.len()) {
            let (found, expected) = (values.len(), first.len());
            return Err(CovariateError::Length { name: name.to_owned(), found, expected });
        }
        table.names.push(name.to_owned());
        table.columns.push(values);
        Ok(())
    }

    /// The same columns for one who counts steps otherwise: from each step of `shifts` on, so many steps ahead.
    pub(crate) fn shifted(&self, shifts: Arc<[(u64, i64)]>) -> Covariates {
        Covariates { table: Arc::clone(&self.table), shifts, lead: self.lead }
    }

    /// The same columns for one whose count of all steps is so much further.
    pub(crate) fn led(&self, lead: i64) -> Covariates {
        Covariates { lead: self.lead + lead, ..self.clone() }
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.table.names
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.table.columns.len()
    }

    /// The first step after the last row.
    pub fn end(&self) -> u64 {
        self.table.first + self.table.columns.first().map_or(0, |column| column.len() as u64)
    }

    /// A column at a step; NaN when it is not known there.
    #[inline]
    pub fn at(&self, column: usize, step: u64) -> f32 {
        let shift = self.shifts.iter().rev().find(|(from, _)| step >= *from).map_or(0, |(_, shift)| *shift);
        let Some(step) = step.checked_add_signed(-shift - self.lead) else { return f32::NAN };
        let row = step.checked_sub(self.table.first).and_then(|row| usize::try_from(row).ok());
        row.and_then(|row| self.table.columns.get(column)?.get(row).copied()).unwrap_or(f32::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_steps_are_nan_and_misfits_are_refused_by_name() {
        let mut covariates = Covariates::beginning(10);
        covariates.add("rain", vec![1.0, 2.0]).unwrap();
        assert_eq!(covariates.at(0, 11), 2.0);
        assert!(
            covariates.at(0, 9).is_nan() && covariates.at(0, 12).is_nan() && covariates.at(1, 10).is_nan()
        );
        assert_eq!(covariates.end(), 12);
        let ahead = covariates.shifted([(0, 0), (12, 1)].into());
        assert_eq!((ahead.at(0, 11), ahead.at(0, 12)), (2.0, 2.0));
        let both = covariates.led(-5).shifted([(0, 0), (7, 1)].into());
        assert_eq!((both.at(0, 6), both.at(0, 7)), (2.0, 2.0));
        assert!(covariates.led(20).at(0, 11).is_nan(), "before all steps");
        let error = covariates.add("rain", vec![0.0; 2]).unwrap_err();
        assert_eq!(error, CovariateError::Duplicate("rain".into()));
        let error = covariates.add("heat", vec![0.0; 3]).unwrap_err();
        assert!(error.to_string().contains("`heat` has 3 rows"), "{error}");
    }
}
