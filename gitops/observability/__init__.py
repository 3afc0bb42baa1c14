"""What watches agent-comms in a cluster: rules, alerts, the dashboard, and what is scraped."""
