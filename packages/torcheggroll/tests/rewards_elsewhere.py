"""Rewards that processes import, one for each way to fail."""

import os
import time


def slow(prompt, text):
    if text == [9]:
        time.sleep(60)
    if text == [8]:
        raise OSError("the service is gone")
    return float(text[0])


def deadly(prompt, text):
    if text == [9]:
        os._exit(3)
    return float(text[0])
