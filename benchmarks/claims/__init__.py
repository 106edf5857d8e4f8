"""What a malicious claimant can try, one kind of attack a file; `false_claims.py` runs them."""
