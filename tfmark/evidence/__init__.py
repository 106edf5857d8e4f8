"""What a third party needs to check a verdict without trusting the owner or the suspect."""
