"""stub"""
from empirical.measurements import *
from empirical.specifications import *
