"""Many structures and long searches on one machine or a cluster, by Dask."""
