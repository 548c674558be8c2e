mod formation;
