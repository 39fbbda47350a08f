"""Running programs that models wrote: isolated, limited, and killed in time."""
