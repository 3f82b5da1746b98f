"""Tests of what deploy/ has: proxies and systemd units."""
