"""How speech sounds behind a bad network: firsthop's listener, beside aiortc and Chromium."""
