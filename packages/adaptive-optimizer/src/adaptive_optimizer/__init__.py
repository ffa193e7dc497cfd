"""Loss- and reward-driven control of lr, momentum, betas, alpha and weight decay around any PyTorch optimizer."""
