"""`balsam top`: a live view of sites, allocations and jobs, on the whole screen of a terminal."""
