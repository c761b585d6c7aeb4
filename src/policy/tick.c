#include "tick.h"

const char *const tick_units[] = {"faults", "references", NULL};
