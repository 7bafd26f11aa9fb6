"""Files in, files out: conversion of recordings, covers, training."""
