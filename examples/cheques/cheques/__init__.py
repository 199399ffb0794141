"""An application on the platform: reads photographed cheques and decides which are paid without a person."""
