//! What instance-seconds cost in a month, in the user's own currency.

use clap::Args;
use sim::Score;

use crate::{output, values};

/// Options about prices.
#[derive(Args, Clone, Debug)]
pub(super) struct MoneyArgs {
    /// Price of an active instance for an hour; without it the report counts instance-hours
    #[arg(long, value_name = "X", value_parser = values::positive, requires = "report")]
    price_per_hour: Option<f64>,
    /// Currency of that price: a sign or a code
    #[arg(long, value_name = "TEXT", default_value = "$", requires = "price_per_hour")]
    currency: String,
}

impl MoneyArgs {
    /// What a month like the scored time costs, as a number.
    pub(super) fn amount(&self, score: &Score) -> f64 {
        let months = score.totals.seconds / SECONDS_PER_MONTH;
        let hours = if months > 0.0 { score.cost / 3600.0 / months } else { 0.0 };
        hours * self.price_per_hour.unwrap_or(1.0)
    }

    /// What a month like the scored time costs, for reading.
    pub(super) fn month(&self, score: &Score) -> String {
        self.shown(self.amount(score))
    }

    fn shown(&self, amount: f64) -> String {
        let number =
            if amount >= 100.0 { output::grouped(amount.round() as u64) } else { format!("{amount:.2}") };
        if self.price_per_hour.is_none() {
            return format!("{number} instance-hours");
        }
        // A code follows its number, a sign stands before it.
        if self.currency.chars().any(char::is_alphabetic) {
            format!("{number} {}", self.currency)
        } else {
            format!("{}{number}", self.currency)
        }
    }

    /// What the column of [`MoneyArgs::month`] is called.
    pub(super) fn column(&self) -> &'static str {
        if self.price_per_hour.is_some() { "cost a month" } else { "a month" }
    }
}

/// The twelfth part of an average year.
const SECONDS_PER_MONTH: f64 = 365.25 / 12.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use sim::world::Totals;

    use super::*;

    fn money(price_per_hour: Option<f64>, currency: &str) -> MoneyArgs {
        MoneyArgs { price_per_hour, currency: currency.to_owned() }
    }

    #[test]
    fn ten_instances_for_a_day_are_so_much_a_month() {
        let totals = Totals { seconds: 86_400.0, active_seconds: 864_000.0, ..Totals::default() };
        let score = Score::new(totals, 0.2);
        // 7305 instance-hours in a month of 730.5 hours.
        assert_eq!(money(Some(0.5), "$").month(&score), "$3,653");
        assert_eq!(money(Some(0.002), "EUR").month(&score), "14.61 EUR");
        assert_eq!(money(None, "$").month(&score), "7,305 instance-hours");
        assert_eq!(money(Some(1.0), "$").month(&Score::new(Totals::default(), 0.2)), "$0.00");
    }
}
