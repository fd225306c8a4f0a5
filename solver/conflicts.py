"""placeholder"""
from solver.outcome import Infeasible
def find_conflict(problem, is_feasible, progress):
    return Infeasible(())
