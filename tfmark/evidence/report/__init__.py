"""Evidence as a page for people: one HTML file that needs nothing else and runs nothing."""

from tfmark.evidence.report.page import render_report as render_report
