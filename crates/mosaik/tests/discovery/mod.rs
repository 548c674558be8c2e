mod convergence;
