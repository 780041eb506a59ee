"""The miniature: small CLIPs that this repository trains and ships."""
