"""What two or more techniques share."""
