"""Downloads: found, checked, unpacked and put where their card says."""
