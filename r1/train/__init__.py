"""Optimiser steps, checkpoints, metrics, and the base model's pre-training."""
