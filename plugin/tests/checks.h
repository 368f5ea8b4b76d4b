#pragma once

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string>

// Checks that stay in release builds, and say where they failed.
#define REQUIRE(condition)                                                                                  \
    do {                                                                                                  \
        if (!(condition)) {                                                                               \
            std::cerr << __FILE__ << ":" << __LINE__ << ": not true: " #condition << std::endl;          \
            std::exit(1);                                                                                 \
        }                                                                                                 \
    } while (false)

#define REQUIRE_CLOSE(got, expected, tolerance)                                                             \
    do {                                                                                                  \
        const double got_ = (got), expected_ = (expected);                                                \
        if (!(std::abs(got_ - expected_) <= (tolerance))) {                                               \
            std::cerr << __FILE__ << ":" << __LINE__ << ": " #got " is " << got_ << ", not " << expected_ \
                      << std::endl;                                                                       \
            std::exit(1);                                                                                 \
        }                                                                                                 \
    } while (false)

/// What the exception that `call` throws says; fails if it throws none.
template <class Call> std::string message_of(Call call) {
    try {
        call();
    }
    catch (const std::exception& error) {
        return error.what();
    }
    std::cerr << "nothing was thrown" << std::endl;
    std::exit(1);
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}
