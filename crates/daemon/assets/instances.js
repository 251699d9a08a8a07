// Part of the dashboard.
