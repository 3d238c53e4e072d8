"""How the postcard model is made, stage by stage: `python -m training.<stage>`, in the order of README.md."""
